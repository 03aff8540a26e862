#!/bin/sh
# Aligns mini's two adapters (Factorized Diffusion Distillation) and measures what it brings. Resumable.
#
#   examples/align_mini.sh
#   SEEDS="0 1" PHOTOS=~/photos examples/align_mini.sh
#
# OUT      folder of the runs (default runs/align-mini)
# MODEL    what to align: a name or a folder (default mini)
# SEEDS    one run for each (default 0)
# PHOTOS   folder of photographs that are mixed into the drawn world (default: none)
# TARGET   where the model of the first seed goes (default: it stays in OUT)
# EACH     held-out edits of each of the seven tasks to measure on (default 40)
# QUICK    if set, two steps and one edit, for nothing good; OUT is then runs/align-mini-quick
# EVE      the command (default eve)
set -eu
OUT=${OUT:-runs/align-mini${QUICK:+-quick}} MODEL=${MODEL:-mini} SEEDS=${SEEDS:-0} EVE=${EVE:-eve}
EACH=${EACH:-${QUICK:+1}} EACH=${EACH:-40}
photos=${PHOTOS:+--photos "$PHOTOS" --photo-share 0.2}
small=${QUICK:+--steps 2 --points 4 --batch 2 --teacher-steps 2 --preview-every 0 --adversarial-start 0 --warmup 1}

less=${QUICK:+--steps 2 --tasks local --no-controls}

aligned=
for seed in $SEEDS; do
    run=$OUT/seed$seed
    if [ -e "$run/model/bundle.json" ]; then
        echo "seed $seed: done before" >&2
    elif ls "$run/checkpoints"/step-* >/dev/null 2>&1; then
        $EVE align --out "$run" --resume
    else
        # shellcheck disable=SC2086
        $EVE align --from-scratch --model "$MODEL" --seed "$seed" --out "$run" --cache "$OUT/points" $photos $small
    fi
    aligned=$aligned${aligned:+,}seed$seed=$run/model
done >&2

# shellcheck disable=SC2086
$EVE bench alignment --model "$MODEL" --aligned "$aligned" --each "$EACH" --out "$OUT/bench" $less

if [ -n "${TARGET:-}" ]; then
    mkdir -p "$(dirname "$TARGET")"
    rm -rf "$TARGET"
    cp -R "$OUT/seed${SEEDS%% *}/model" "$TARGET"
    echo "$TARGET"
fi
