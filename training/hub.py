"""The door to `model_cards/`: no other module of `training/` imports from there."""

from model_cards.trained_run import check_push as check_push
from model_cards.trained_run import push as push
