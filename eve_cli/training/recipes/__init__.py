"""What can be trained: recipe names and where each lives."""

RECIPES = {
    "vae": "eve_cli.training.recipes.vae:CodecRecipe",
    "decoder": "eve_cli.training.recipes.vae:DecoderRecipe",
    "backbone": "eve_cli.training.recipes.backbone:BackboneRecipe",
    "edit": "eve_cli.training.recipes.edit:EditRecipe",
    "joint": "eve_cli.training.recipes.joint:JointRecipe",
    "video": "eve_cli.training.recipes.video:VideoRecipe",
    "eyes": "eve_cli.training.recipes.eyes:EyesRecipe",
    "lora": "eve_cli.training.recipes.lora:LoraRecipe",
}
