#!/bin/sh
# Start it in examples/dreambooth of diffusers 0.40 or later. Options of your own go before those of the dataset:
# of two of one name the last counts.
accelerate launch train_dreambooth_lora_flux2.py \
  --pretrained_model_name_or_path=black-forest-labs/FLUX.2-dev --output_dir=output \
  --dataset_name=/cache/out-5039ee3e --image_column=image --caption_column=text --instance_prompt=photo \
  --resolution=1024 --use_aspect_ratio_buckets '--aspect_ratio_buckets=1024,1024;896,1152;1152,896;832,1216;1216,832;768,1344;1344,768;704,1472' \
  --repeats=1 --train_batch_size=1
