"""A bounded part of the simulator's bulk run; all of it is `build/release/tests/sim_bulk --bytes 10GiB`."""
from solaster.testing import host_test


@host_test(modes=("release",), timeout=120)
def test_sim_bulk_256_mib_over_bad_lines(ctx):
    result = ctx.run("tests/sim_bulk", ["--bytes", "256MiB", "--seed", "1"], timeout=110)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "arrived as they were sent" in result.stdout
