"""[`draw_comparison`] was in this module once and can still be imported from it."""

from .pictures.plotting import draw_comparison as draw_comparison
