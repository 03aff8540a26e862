#!/bin/sh
# Trains the whole of `mini` from nothing and puts it into weights/mini. Resumable: run it again after an interruption.
#
#   PHOTOS=~/photos examples/train_mini.sh
#
# OUT      folder of the runs (default runs/mini)
# PHOTOS   folder of photographs that are mixed into the drawn world (default: none; looks on real clips then suffer)
# SCALE    multiplies all times (default 1: about 4 hours on 2 cores)
# TARGET   where the bundle goes (default weights/mini)
# QUICK    if set, two steps a part with small batches: the whole way in about a minute, for nothing good; OUT and TARGET
#          are then runs/mini-quick and model/ in it
# EVE      the command (default eve)
#
# The same on CPU and GPU. On a few cores pin the threads: export OMP_NUM_THREADS=2 GOMP_CPU_AFFINITY="0 1".
set -eu
OUT=${OUT:-runs/mini${QUICK:+-quick}} SCALE=${SCALE:-1} EVE=${EVE:-eve}
TARGET=${TARGET:-${QUICK:+$OUT/model}} TARGET=${TARGET:-weights/mini}
photos=${PHOTOS:+--photos "$PHOTOS"}

ends() { [ -n "${QUICK:-}" ] && echo "--steps 2" || awk "BEGIN { print \"--minutes\", $1 * $SCALE }"; }

# What a quick run changes, by part; the vae's latents are measured on hundreds of pictures, drawn a batch at a time.
small() {
    [ -n "${QUICK:-}" ] || return 0
    case $1 in vae | decoder) batch=32 ;; *) batch=2 ;; esac
    echo "--batch $batch --warmup 1 --ema 0 --preview-every 0 --prefetch 0 --keep 1"
}

# part, model to start from, minutes, and what else `eve train` takes
stage() {
    part=$1 model=$2 end=$(ends "$3"); shift 3
    if [ -e "$OUT/$part/model/bundle.json" ]; then
        echo "$part: done before" >&2
    elif ls "$OUT/$part/checkpoints"/step-* >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        $EVE train "$part" --out "$OUT/$part" $end --resume
    else
        # shellcheck disable=SC2086
        $EVE train "$part" --model "$model" --out "$OUT/$part" $end $photos "$@" $(small "$part")
    fi
}

stage vae    new                     12 --batch 16 --lr 1.5e-3 --ema 0.998 --photo-share 0.25
stage backbone "$OUT/vae/model"      75 --batch 64 --lr 1.2e-3 --warmup 100 --ema 0.998 --weight-decay 0.01 --decay-fraction 0.35 --photo-share 0.1
stage edit     "$OUT/backbone/model"   60 --batch 32 --lr 8e-4 --warmup 100 --ema 0.998 --weight-decay 0.01 --decay-fraction 0.35 --photo-share 0.22
stage joint    "$OUT/edit/model"       60 --batch 32 --lr 7e-4 --warmup 150 --clip 0.4 --ema 0.998 --weight-decay 0.01 --decay-fraction 0.5 --photo-share 0.2
stage video    "$OUT/joint/model"      30 --batch 4 --lr 6e-4 --warmup 100 --ema 0.998 --weight-decay 0.01 --decay-fraction 0.35 --photo-share 0.15
stage decoder  "$OUT/video/model"      10 --batch 16 --lr 8e-4 --ema 0.998 --photo-share 0.25

mkdir -p "$(dirname "$TARGET")"
rm -rf "$TARGET"
cp -R "$OUT/decoder/model" "$TARGET"
echo "$TARGET"
