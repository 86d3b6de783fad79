"""Runs one case of a Python test file in this process: case.py FILE FUNCTION MODE MACHINE CPUS. Used by test.py.

Exit status: 0 passed, 77 skipped (the reason is the last line), else failed (the traceback is the output)."""
import importlib.util
import sys
import traceback
from pathlib import Path

SKIPPED = 77


def load(path):
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(path):
    """(function name, its marks) of a test file's cases, in the order of the file."""
    module = load(path)
    for name, function in vars(module).items():
        if name.startswith("test_") and callable(function) and getattr(function, "__module__", "") == module.__name__:
            yield name, getattr(function, "solaster", None)


def main():
    from solaster import testing
    path, name, mode, machine, cpus = sys.argv[1:6]
    context = testing.Context(mode, None if machine == "-" else machine, int(cpus))
    try:
        function = getattr(load(path), name)
        function(*([context] if function.__code__.co_argcount else []))
        status = 0
    except testing.Skip as skip:
        print(skip)
        status = SKIPPED
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        context.close()
    sys.stdout.flush()
    sys.exit(status)


if __name__ == "__main__":
    main()
