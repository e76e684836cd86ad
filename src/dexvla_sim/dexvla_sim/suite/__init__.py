"""The evaluation table: policies against each other on tasks, on the same unseen seeds."""

from dexvla_sim.suite.entries import Suite, SuiteEntry, load_suite, suite_of
from dexvla_sim.suite.report import SuiteReport
from dexvla_sim.suite.run import run_suite, write_report

__all__ = ["Suite", "SuiteEntry", "SuiteReport", "load_suite", "run_suite", "suite_of", "write_report"]
