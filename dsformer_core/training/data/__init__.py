"""What networks are trained on: pictures of classes, drawn by class, the same again after a restart.

>>> data = open_training_data("partition/", size=(320, 320))
>>> view = data.groups[0][0]
>>> draws = ClassSampler(len(view), seed=0, epoch=0, group=0, view=0)
>>> DataLoader(view, sampler=draws, batch_size=32, num_workers=4)    # endless
"""

from dsformer_core.training.data.class_pictures import ClassPictures
from dsformer_core.training.data.class_sampler import ClassSampler, Draw
from dsformer_core.training.data.place_sampler import PlaceSampler
from dsformer_core.training.data.training_data import TrainingData, kind_of, open_training_data

__all__ = ["ClassPictures", "ClassSampler", "Draw", "PlaceSampler", "TrainingData", "kind_of", "open_training_data"]
