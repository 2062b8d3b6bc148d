"""The former place of [`draw_comparison`], which stays importable from here."""

from .pictures.plotting import draw_comparison as draw_comparison
