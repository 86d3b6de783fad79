#!/usr/bin/env bash
# Install what building, running and testing need, on Debian 12. Safe to run again: it does nothing when all is there.
#   scripts/setup.sh            install what is missing
#   scripts/setup.sh --check    only say what is missing; status 1 if anything is
# Nothing here starts a server or changes the kernel: the comparison's peers are unpacked under build/ instead.
set -euo pipefail

if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is not Debian; install what the lists in this script name by other means" >&2
    exit 1
fi

build=(clang-19 lld-19 llvm-19 libclang-rt-19-dev ninja-build python3 libstdc++-12-dev libc6-dev linux-libc-dev
       liburing-dev libfmt-dev libboost-dev libboost-program-options-dev libc-ares-dev libgtest-dev libgmock-dev)
run=(qemu-system-x86 iproute2)
check=(clang-format-19 libmemcached-tools python3-pymemcache cpio gdb ethtool tcpdump util-linux git)

missing=()
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${build[@]}" "${run[@]}" "${check[@]}" 2>/dev/null || true)
for package in "${build[@]}" "${run[@]}" "${check[@]}"; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
    echo "setup: all packages are installed"
    exit 0
fi
if [ "${1:-}" = --check ]; then
    echo "setup: missing: ${missing[*]}"
    exit 1
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: not root and no sudo; as root, run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    root=(sudo)
fi

apt() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"
}

echo "setup: installing ${missing[*]}"
# The lists of a fresh system are empty, those of an old one may be stale: update first, and say so when that fails.
apt update >/dev/null || echo "setup: apt-get update failed; trying with the lists that are here" >&2
if ! apt install -y --no-install-recommends "${missing[@]}"; then
    echo "setup: apt-get could not install the packages above (Debian 12 is what this is tested on)" >&2
    exit 1
fi
echo "setup: done"
