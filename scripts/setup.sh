#!/usr/bin/env bash
# Makes .venv with a CPU build of torch first, then s2koop with its extras. A second run with nothing changed ends at once.
#   S2KOOP_TORCH=cuda  take the platform's default torch (several GB of CUDA on Linux)
#   S2KOOP_UV=0        use pip even where uv is there
set -euo pipefail
cd "$(dirname "$0")/.."

say()  { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
fail() { printf '\033[1m[setup] stopped:\033[0m %s\n' "$*" >&2; exit 1; }

SAMPLE="nrt==0.2.0"          # its wheel carries the sample series; none of its own dependencies are needed
TORCH="torch==2.13.0"
VENV=.venv
STAMP=$VENV/.s2koop-setup
want=$(cat pyproject.toml scripts/setup.sh | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-64)
[ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$want" ] && exit 0

find_python() {
    local name
    for name in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 || continue
        "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo "$name"; return; }
    done
    return 1
}

if [ ! -x $VENV/bin/python ]; then
    python=$(find_python) || fail "Python 3.11, 3.12 or 3.13 is needed and none was found. Install one, or name it: PYTHON=/path/to/python make demo"
    say "making $VENV with $($python --version 2>&1)"
    "$python" -m venv $VENV || { rm -rf $VENV; fail "'$python -m venv' failed. On Debian or Ubuntu: apt-get install python3-venv"; }
fi
python=$VENV/bin/python
$python -m pip --version >/dev/null 2>&1 || $python -m ensurepip -q || fail "the environment has no pip; remove $VENV and run again"

install_with_pip() { $python -m pip install -q --disable-pip-version-check "$@"; }
install() {
    if [ "${S2KOOP_UV:-1}" != 0 ] && command -v uv >/dev/null 2>&1; then
        VIRTUAL_ENV=$PWD/$VENV uv pip install -q "$@" || { say "uv could not install; trying pip"; install_with_pip "$@"; }
    else
        install_with_pip "$@"
    fi
}

# torch first: the plain Linux wheel drags in gigabytes of CUDA that a 2 GB notebook cannot use
if ! $python -c 'import torch' 2>/dev/null; then
    say "installing torch (CPU)"
    offered=$($python -m pip install -q --disable-pip-version-check --dry-run --no-deps --ignore-installed --report - "$TORCH" 2>/dev/null \
        | $python -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["download_info"]["url"])' 2>/dev/null || true)
    case "$(uname -sm)/${S2KOOP_TORCH:-cpu}/$offered" in
        Linux\ x86_64/cpu/*+cpu* | Linux\ x86_64/cpu/*%2Bcpu*) install_with_pip "$TORCH" ;;
        Linux\ x86_64/cpu/*) install_with_pip --index-url https://download.pytorch.org/whl/cpu torch ;;
        *) install_with_pip torch ;;
    esac || fail "torch could not be installed; is the package index within reach?"
fi

say "installing s2koop and its extras (a few minutes the first time)"
install -e ".[test,lint]" || fail "the dependencies could not be installed; see the lines above"
install --no-deps "$SAMPLE" || fail "the sample series ($SAMPLE) could not be installed"
$python -c 'import s2koop' || fail "s2koop was installed but does not import; please report the lines above"
echo "$want" > "$STAMP"
say "ready: $($python -c 'import s2koop, torch; print("s2koop", s2koop.__version__, "with torch", torch.__version__)')"
