#!/bin/sh
# Fine-tunes `mini` to 128 pixels with photographs under looks. Resumable: run it again after an interruption.
#
#   PHOTOS=~/photos examples/finetune_mini.sh
#
# PHOTOS   folder of photographs (needed); every eleventh is left out of training
# MODEL    model to start from (default weights/mini)
# OUT      folder of the runs (default runs/mini128)
# SCALE    multiplies all times (default 1: about 10 hours on 2 cores)
# QUICK    if set, two steps a part with small batches: the whole way in a few minutes, for nothing good
# EVE      the command (default eve)
#
# The result is OUT/align/model. The joint run at 128 pixels has a constant learning rate, so that it can be continued
# with `eve train joint --out OUT/joint128 --resume --minutes TOTAL`; `decay` branches off it with a falling one.
set -eu
MODEL=${MODEL:-weights/mini} OUT=${OUT:-runs/mini128} SCALE=${SCALE:-1} EVE=${EVE:-eve}

ends() { [ -n "${QUICK:-}" ] && echo "--steps 2" || awk "BEGIN { print \"--minutes\", $1 * $SCALE }"; }

small() {
    [ -n "${QUICK:-}" ] || return 0
    case $1 in align) echo "--points 4 --student-steps 1 --teacher-steps 1 --batch 2" ;; *) echo "--batch 2 --prefetch 0" ;; esac
    echo "--warmup 1 --ema 0 --preview-every 0 --keep 1"
}

# run, part, model to start from, minutes, and what else `eve train` or `eve align` takes
stage() {
    run=$1 part=$2 model=$3 end=$(ends "$4"); shift 4
    case $part in align) train="$EVE align" ;; *) train="$EVE train $part" ;; esac
    if [ -e "$OUT/$run/model/bundle.json" ]; then
        echo "$run: done before" >&2
    elif ls "$OUT/$run/checkpoints"/step-* >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        $train --out "$OUT/$run" $end --resume
    else
        # shellcheck disable=SC2086
        $train --model "$model" --out "$OUT/$run" $end --photos "$PHOTOS" "$@" $(small "$part")
    fi
}

joint="--photo-share 0.5 --clip 0.4 --weight-decay 0.01 --text-share 0.25"
# shellcheck disable=SC2086
stage joint64  joint   "$MODEL"              110 --batch 32 --lr 7e-4 --warmup 100 --ema 0.998 --decay-fraction 0 $joint
stage decoder  decoder "$OUT/joint64/model"   25 --pixels 128 --batch 8 --lr 4e-4 --ema 0.998 --photo-share 0.5
# shellcheck disable=SC2086
stage joint128 joint   "$OUT/decoder/model"  220 --pixels 128 --wide --batch 16 --lr 4e-4 --ema 0.998 --decay-fraction 0 $joint
# shellcheck disable=SC2086
stage decay    joint   "$OUT/joint128/model"  60 --pixels 128 --wide --batch 16 --lr 4e-4 --ema 0.99 --decay-fraction 1 $joint
stage video    video   "$OUT/decay/model"     90 --batch 4 --lr 4e-4 --ema 0.998 --decay-fraction 0.5 --photo-share 0.4
stage align    align   "$OUT/video/model"     40 --photo-share 0.3

echo "$OUT/align/model"
