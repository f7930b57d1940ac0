"""Training as the paper does it (section IV-A): recipes, the loss, augmentation, the loop, checkpoints.

    >>> from dsformer_core.training.recipe import load_recipe
    >>> from dsformer_core.training.trainer import Trainer

`trainer.py` is the loop; every hyper-parameter stands, with what it does, in `recipe.py`.
"""
