#!/bin/sh
# Trains the whole of `mini` from nothing and puts it into weights/mini. Resumable: run it again after an interruption.
#
#   PHOTOS=~/photos examples/train_mini.sh
#
# OUT      folder of the runs (default runs/mini)
# PHOTOS   folder of photographs that are mixed into the drawn world (default: none; looks on real clips then suffer)
# SCALE    multiplies all times (default 1: about 3 hours on 2 cores; 0.01 tries the whole way in minutes, for nothing good)
# TARGET   where the bundle goes (default weights/mini)
#
# The same on CPU and GPU. On a few cores pin the threads: export OMP_NUM_THREADS=2 GOMP_CPU_AFFINITY="0 1".
set -eu
OUT=${OUT:-runs/mini} SCALE=${SCALE:-1} TARGET=${TARGET:-weights/mini}
photos=${PHOTOS:+--photos "$PHOTOS"}

minutes() { awk "BEGIN { print $1 * $SCALE }"; }

# part, model to start from, minutes, and what else `eve train` takes
stage() {
    part=$1 model=$2 time=$(minutes "$3"); shift 3
    if [ -e "$OUT/$part/model/bundle.json" ]; then
        echo "$part: done before" >&2
    elif ls "$OUT/$part/checkpoints"/step-* >/dev/null 2>&1; then
        eve train "$part" --out "$OUT/$part" --minutes "$time" --resume
    else
        # shellcheck disable=SC2086
        eve train "$part" --model "$model" --out "$OUT/$part" --minutes "$time" $photos "$@"
    fi
}

stage codec    new                     12 --batch 16 --lr 1.5e-3 --ema 0.998 --photo-share 0.25
stage backbone "$OUT/codec/model"      75 --batch 64 --lr 1.2e-3 --warmup 100 --ema 0.998 --weight-decay 0.01 --decay-fraction 0.35 --photo-share 0.1
stage edit     "$OUT/backbone/model"   60 --batch 32 --lr 8e-4 --warmup 100 --ema 0.998 --weight-decay 0.01 --decay-fraction 0.35 --photo-share 0.22
stage video    "$OUT/edit/model"       30 --batch 4 --lr 6e-4 --warmup 100 --ema 0.998 --weight-decay 0.01 --decay-fraction 0.35 --photo-share 0.15
stage decoder  "$OUT/video/model"      10 --batch 16 --lr 8e-4 --ema 0.998 --photo-share 0.25

mkdir -p "$(dirname "$TARGET")"
rm -rf "$TARGET"
cp -R "$OUT/decoder/model" "$TARGET"
echo "$TARGET"
