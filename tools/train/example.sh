#!/usr/bin/env bash
# The commands of docs/train.md, as they stand there, on forty small pictures, with the time that each takes.
#
#     tools/train/example.sh OUT        # an empty or new folder
#
# The pictures are parts of the two in testdata/pictures, cut out at random: 20 of a cat, 20 of a rocket. What may be set, with its default:
# PYTHON=python3  MNX_INFER=target/release/mnx-infer. Exit code 77: skipped, for something that it needs is not there.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 1; }
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$(command -v "${PYTHON:-python3}") || { echo "SKIPPED: there is no ${PYTHON:-python3}"; exit 77; }
mnx=$(realpath -m "${MNX_INFER:-$root/target/release/mnx-infer}")
"$python" -c 'import torch, torchvision, numpy, safetensors, PIL, matplotlib' 2>/dev/null || { echo "SKIPPED: $python lacks what tools/train/requirements.txt lists"; exit 77; }
[ -x "$mnx" ] || { echo "SKIPPED: there is no $mnx: cargo build --release -p mnx-infer"; exit 77; }

mkdir -p "$1"
cd "$1"
[ -z "$(ls -A)" ] || { echo "example.sh: $1: expected an empty folder" >&2; exit 1; }
"$python" - "$root/testdata/pictures" <<'PYTHON'
import pathlib, random, sys
from PIL import Image

chance = random.Random(1)
for label, file in (("cat", "chelsea.png"), ("rocket", "rocket.jpg")):
    picture = Image.open(pathlib.Path(sys.argv[1]) / file).convert("RGB")
    folder = pathlib.Path("pictures") / label
    folder.mkdir(parents=True)
    for number in range(20):
        side = chance.randint(160, min(picture.size))
        left, top = (chance.randint(0, length - side) for length in picture.size)
        picture.crop((left, top, left + side, top + side)).save(folder / f"{number:02}.jpg")
PYTHON

TIMEFORMAT='-- %R s, %U s of CPU'
step() {
    local program=$1
    echo "\$ $*"
    shift
    case $program in
        train) time "$python" "$root/tools/train/classify.py" "$@" ;;
        mnx-infer) time "$mnx" "$@" ;;
    esac 2>&1
    echo
}

step train pictures run --arch mobilenext --width 0.35 --size 96 --batch 16 --epochs 20
step mnx-infer convert --arch mobilenext --width 0.35 --resolution 96 --classes 2 --labels run/labels.txt --input run/model.safetensors --output run/model.mnx
step mnx-infer quantize --weights run/model.mnx --calibrate pictures --output run/int8.mnx
step mnx-infer eval --weights run/int8.mnx --list run/test.txt pictures
step mnx-infer classify --weights run/int8.mnx pictures/cat/00.jpg pictures/rocket/00.jpg
grep -m 1 'model name' /proc/cpuinfo 2>/dev/null || uname -m
