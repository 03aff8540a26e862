"""Training recipes by name."""

RECIPES = {
    "vae": "eve_cli.training.recipes.vae:VaeRecipe",
    "decoder": "eve_cli.training.recipes.vae:DecoderRecipe",
    "backbone": "eve_cli.training.recipes.backbone:BackboneRecipe",
    "edit": "eve_cli.training.recipes.edit:EditRecipe",
    "joint": "eve_cli.training.recipes.joint:JointRecipe",
    "video": "eve_cli.training.recipes.video:VideoRecipe",
    "encoders": "eve_cli.training.recipes.encoders:EncodersRecipe",
    "lora": "eve_cli.training.recipes.lora:LoraRecipe",
}
