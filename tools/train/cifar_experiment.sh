#!/usr/bin/env bash
# Repeats the comparison of MobileNeXt and MobileNetV2 on CIFAR-10: trains both at one width by one recipe after the other, for several
# seeds, unattended, and fills the table of docs/comparison.md from the runs that are finished.
#
#     tools/train/cifar_experiment.sh DATA OUT            # DATA has train/CLASS/*.jpg and test/CLASS/*.jpg
#     tools/train/cifar_experiment.sh DATA OUT --plan     # only says which runs there are, and which are finished
#
# Started again, it goes on where it stopped: a run that has a record in docs/records/cifar10 is not repeated, one that was interrupted is
# resumed after its last whole epoch. Commit the records as they come. Started a second time beside the first, it takes the next run: two
# runs on a thread each get through more than one on two. What may be set, with its default:
#
#     PYTHON=python3  MNX_INFER=target/release/mnx-infer  WIDTH=0.35  SEEDS="1 2 3"  EPOCHS=10  LONG_EPOCHS=24  OTHER_EPOCHS=10  THREADS=1
#
# Exit code 77: skipped, for something that it needs is not there.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 1; }
data=$(realpath "$1") out=$(realpath -m "$2") mode=${3-}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
mnx=$(realpath -m "${MNX_INFER:-$root/target/release/mnx-infer}")
width=${WIDTH:-0.35}
records=${RECORDS:-$root/docs/records/cifar10}
document=${DOCUMENT:-$root/docs/comparison.md}

[ -d "$data/train" ] && [ -d "$data/test" ] || { echo "cifar_experiment.sh: $data: expected folders train and test" >&2; exit 1; }
"$python" -c 'import torch, safetensors, PIL' 2>/dev/null || { echo "SKIPPED: $python lacks what tools/train/requirements.txt lists"; exit 77; }
[ -x "$mnx" ] || { echo "SKIPPED: there is no $mnx: cargo build --release -p mnx-infer"; exit 77; }

# Network, recipe, epochs, seed. First the one to stand beside the embedded MobileNeXt, then seeds in turn, then the other recipe.
plan() {
    echo "mobilenetv2-cifar one-cycle ${LONG_EPOCHS:-24} 1"
    for seed in ${SEEDS:-1 2 3}; do
        echo "mobilenext-cifar mobilenetv2 ${EPOCHS:-10} $seed"
        echo "mobilenetv2-cifar mobilenetv2 ${EPOCHS:-10} $seed"
    done
    echo "mobilenext-cifar resnet ${OTHER_EPOCHS:-10} 1"
    echo "mobilenetv2-cifar resnet ${OTHER_EPOCHS:-10} 1"
}

mkdir -p "$out"
table() { flock "$out/table.lock" "$python" "$here/cifar_table.py" "$@" --records "$records"; }

embedded=mobilenext-cifar-0.35-one-cycle-24-1
if [ "$mode" != --plan ] && [ ! -f "$records/$embedded.json" ]; then
    table embedded cifar --data "$data" --mnx "$mnx"
fi
finished=yes
while read -r arch recipe epochs seed; do
    name=$arch-$width-$recipe-$epochs-$seed
    run=$out/$name
    if [ -f "$records/$name.json" ]; then
        echo "$name: finished"
        continue
    fi
    if [ "$mode" = --plan ]; then
        [ -f "$run/checkpoint.pt" ] && echo "$name: begun, $(($(wc -l <"$run/log.csv") - 1)) of $epochs epochs" || echo "$name: to do"
        continue
    fi
    exec 9>"$run.lock"
    if ! flock -n 9; then
        echo "$name: another one is at it"
        finished=no
        continue
    fi
    echo "== $name ($(date '+%F %T'))"
    resume=()
    [ ! -f "$run/checkpoint.pt" ] || resume=(--resume)
    "$python" "$here/classify.py" "$data" "$run" --arch "$arch" --width "$width" --recipe "$recipe" --epochs "$epochs" --seed "$seed" \
        --threads "${THREADS:-1}" --workers 1 "${resume[@]}" </dev/null
    table record "$run" --data "$data" --mnx "$mnx"
    table fill --document "$document"
done < <(plan)
if [ "$mode" != --plan ] && [ "$finished" = yes ] && compgen -G "$out/*/model.mnx" >/dev/null; then
    # Latencies mean something only side by side: all networks in turn, in one run, at the end.
    table latency "$out" --data "$data" --mnx "$mnx"
    table fill --document "$document"
fi
