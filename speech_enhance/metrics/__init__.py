"""Objective measures of enhanced speech."""

from .reference import METRICS, estoi, mean_score, module_path, pesq, score, score_files, si_sdr

__all__ = ["METRICS", "estoi", "mean_score", "module_path", "pesq", "score", "score_files", "si_sdr"]
