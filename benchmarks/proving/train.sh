#!/bin/sh
# Train all proving models, side by side on one GPU: stills, then clips, about eight minutes each on an H200.
# Usage: train.sh [options of train.py]; a model that cannot be recorded as a graph is trained without.
here=$(dirname "$0")
train() {
    name=$1 seconds=$2
    shift 2
    python3 "$here/train.py" "$name" --seconds "$seconds" "$@" ||
        python3 "$here/train.py" "$name" --seconds "$seconds" --no-record "$@"
}
(train sd3 250 "$@" && train sd3-few-steps 150 --pool 8192 --chunk 512 "$@") &
(train flux 250 "$@" && train flux-distilled 150 "$@") &
for name in unet-epsilon pixart; do train "$name" 430 "$@" & done
wait
for name in cogvideox wan-experts; do train "$name" 455 --pool 8192 --batch 128 "$@" & done
train ltx 455 --pool 8192 "$@" &
wait
