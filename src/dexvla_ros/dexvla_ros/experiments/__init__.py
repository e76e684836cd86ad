"""Experiments from nothing to the table: demonstrations, trainings, evaluation (config/experiments/)."""

from dexvla_ros.experiments.experiment import Experiment, Step, load_experiment
from dexvla_ros.experiments.run import run_experiment

__all__ = ["Experiment", "Step", "load_experiment", "run_experiment"]
