# Shared by the scripts: where things are, and how the virtual environment is made. Sourced, not run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${META_WHISPER_VENV:-$ROOT/.venv}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/meta-whisper

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# The first interpreter that is new enough and can make a virtual environment.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.10 or newer with the venv module is needed (Debian: apt install python3-venv); or set PYTHON=/path/to/python3"
}

# Make or refresh the virtual environment. $1: "tools" for what scripts/run needs; "dev" and "bench" add to that.
# A stamp of the requirement files makes the second call instantaneous.
ensure_venv() {
    local stamp wanted requirements=("$ROOT/scripts/requirements-tools.txt")
    [ "$1" = tools ] || requirements+=("$ROOT/scripts/requirements-$1.txt")
    stamp="$VENV/.meta-whisper-$1"
    wanted=$(cat "$ROOT/service/pyproject.toml" "$ROOT"/scripts/requirements-*.txt | cksum)
    if [ -x "$VENV/bin/whisperctl" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        ensure_alsa "$1"
        return
    fi
    if [ ! -x "$VENV/bin/python" ]; then
        say "making the virtual environment $VENV"
        "$(find_python)" -m venv "$VENV" || die "cannot make $VENV"
    fi
    say "installing the packages ($1)"
    # Older ones fetch a whole package only to tell where it is, and convert_model asks that of them.
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check "pip>=23.3" || die "pip cannot be updated"
    local arguments=() file
    for file in "${requirements[@]}"; do arguments+=(-r "$file"); done
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check "${arguments[@]}" -e "$ROOT/service" \
        || die "the packages could not be installed; is the package registry reachable? Run it again: it goes on where it was"
    ensure_alsa "$1" first
    printf '%s\n' "$wanted" >"$stamp"
}

# The microphone's package, of which there are only sources: without a compiler and headers there is no microphone, and
# all else works. $1: as of ensure_venv; $2: "first" for saying so.
ensure_alsa() {
    local include log="$VENV/pyalsaaudio.log"
    [ ! -e "$VENV/.meta-whisper-alsa" ] || return 0
    # What failed once is not tried again at every start.
    [ -n "${2:-}" ] || [ "$1" = dev ] || [ ! -e "$log" ] || return 0
    include=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    if [ ! -e "$include/Python.h" ] || [ ! -e /usr/include/alsa/asoundlib.h ] || ! command -v gcc >/dev/null; then
        [ -z "${2:-}" ] || say "without a microphone; for one: apt install gcc libasound2-dev python3-dev, and run this again"
    elif "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -e "$ROOT/service[alsa]" >"$log" 2>&1; then
        touch "$VENV/.meta-whisper-alsa"
    else
        [ "$1" != dev ] || die "pyalsaaudio could not be built: $log"
        say "without a microphone, since pyalsaaudio could not be built: $log"
    fi
}

# What the daemon needs to speak HTTP, which is a package that not everybody wants.
ensure_http() {
    "$VENV/bin/python" -c 'import aiohttp' 2>/dev/null && return
    say "installing the package for HTTP"
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -e "$ROOT/service[http]" \
        || die "aiohttp could not be installed; is the package registry reachable?"
}

# Fetch and convert a model of the catalogue, unless its bundle is there already. $1: model, $2: precision.
ensure_bundle() {
    local model=$1 precision=${2:-int8} name=$1
    [ "$precision" = int8 ] || name="$model-$precision"
    BUNDLE="$CACHE/models/$name"
    if [ "$(cat "$BUNDLE.made-by" 2>/dev/null)" = "$(converter_version)" ] && [ -f "$BUNDLE/manifest.json" ]; then
        return
    fi
    "$VENV/bin/python" "$ROOT/scripts/convert_model" "$model" --precision "$precision" --output "$BUNDLE" >&2 \
        || exit 1
    converter_version >"$BUNDLE.made-by"
}

# Fetch the voice activity detector, unless it is there already.
ensure_vad() {
    VAD="$CACHE/weights/silero-vad/silero_vad_16k_op15.onnx"
    [ -f "$VAD" ] || "$VENV/bin/python" "$ROOT/scripts/convert_model" silero-vad >&2 || exit 1
}

# A bundle is made again when the code that made it has changed.
converter_version() { cat "$ROOT"/scripts/convert_model/*.py | cksum; }
