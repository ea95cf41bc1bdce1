#!/usr/bin/env bash
# The kernels' tests on builds that the suite does not make, each in a copy under build/cross:
#   tools/cross.sh clang    # clang's vectors and OpenMP, at each CPU level
#   tools/cross.sh plain    # C without the vector types of gcc and clang, as for other compilers
#   tools/cross.sh arm      # 64-bit Arm: cross-compiled, run by an emulator, with Arm builds of Python,
#                           # NumPy, SciPy and scikit-learn
# Needs a Python with skce's test extras (PYTHON, else .venv/bin/python) and, of Debian's packages,
# clang libomp-dev (clang), qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross (arm).
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
tests=(tests/test_losses.py tests/test_losses_arguments.py tests/test_losses_proba.py tests/test_engine_sgd.py tests/test_kernels_simd.py)

copy() {
    rm -rf "build/cross/$1"
    mkdir -p "build/cross/$1"
    cp -r setup.py pyproject.toml README.md LICENSE skce tests tools "build/cross/$1"
    cd "build/cross/$1"
    rm -f skce/*.so skce/*/*.so
    export PYTHONPATH=$PWD
}

build() { "$python" setup.py --quiet build_ext --inplace; }

case ${1:-} in
clang)
    copy clang
    CC=$(command -v clang || command -v clang-14)
    export CC LDSHARED="$CC -shared" CFLAGS=-w
    build
    tools/levels.sh "$python" -m pytest -q "${tests[@]}"
    ;;
plain)
    copy plain
    export CFLAGS="-w -DSKCE_PLAIN"
    build
    # SKCE_PLAIN leaves one level; else this would not be the build it is meant to be
    "$python" -c 'from skce._kernels.cpu import level; assert level == "baseline", level'
    "$python" -m pytest -q "${tests[@]}"
    ;;
arm)
    system=$PWD/build/cross/arm-system
    if [ ! -e "$system/done" ]; then
        # apt with lists of its own: the system's are left as they are
        mkdir -p "$system"/{apt/lists/partial,apt/archives/partial,debs,root,site}
        : > "$system/apt/status"
        apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64
            -o "Dir::State=$system/apt" -o "Dir::Cache=$system/apt"
            -o "Dir::State::status=$system/apt/status")
        "${apt[@]}" update
        # Python 3.11 is Debian 12's
        (cd "$system/debs" && "${apt[@]}" -o APT::Sandbox::User=root download \
            python3.11-minimal libpython3.11-{minimal,stdlib,dev} libc6 libgcc-s1 libstdc++6 \
            libgomp1 zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 liblzma5 libuuid1 libcrypt1 \
            libsqlite3-0)
        for package in "$system"/debs/*.deb; do dpkg-deb -x "$package" "$system/root"; done
        "$python" -m pip install --quiet --target "$system/site" --only-binary=:all: \
            --python-version 3.11 --platform manylinux2014_aarch64 \
            --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
            numpy scipy scikit-learn pytest mpmath
        emulated="qemu-aarch64 -L $system/root $system/root/usr/bin/python3.11"
        printf '#!/bin/sh\nexec %s "$@"\n' "$emulated" > "$system/python"
        chmod +x "$system/python"
        touch "$system/done"
    fi
    copy arm
    # Cython writes the C here (no compiler: CC=true), gcc builds it for the other processor
    CC=true LDSHARED=true "$python" setup.py --quiet build_ext > /dev/null
    "$python" setup.py --quiet egg_info
    export CC=aarch64-linux-gnu-gcc
    for module in $(cd build/cython && find skce -name '*.c'); do
        "$CC" -w -shared -fPIC -O3 -DNDEBUG -fopenmp -fno-math-errno -fno-trapping-math \
            -I"$system/root/usr/include" -I"$system/root/usr/include/python3.11" -Iskce/_kernels \
            "build/cython/$module" -o "${module%.c}.cpython-311-aarch64-linux-gnu.so" -lm &
    done
    wait
    export PYTHONPATH=$PWD:$system/site
    # the tests start sys.executable, which has to be the emulated one
    code="import sys, pytest; sys.executable = '$system/python'; sys.exit(pytest.main(sys.argv[1:]))"
    "$system/python" -c "$code" -q -rP "${tests[@]}"
    ;;
*)
    echo "usage: tools/cross.sh clang|plain|arm" >&2
    exit 2
    ;;
esac
