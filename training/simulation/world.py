"""The stage: calendar, catalogue and population of one simulation."""

from dataclasses import dataclass

import numpy as np

from training.simulation.calendar import Calendar, build_calendar
from training.simulation.catalogue import Catalogue, build_catalogue
from training.simulation.config import SimulationConfig
from training.simulation.population import Population, build_population


@dataclass(frozen=True, slots=True)
class World:
    """What stays the same through a simulation."""

    config: SimulationConfig
    calendar: Calendar
    catalogue: Catalogue
    people: Population

    def progress(self, times: np.ndarray) -> np.ndarray:
        """The share of the days gone by at each time, 0 to 1."""
        return (times - self.config.start) / (self.config.end - self.config.start)


def build_world(config: SimulationConfig) -> World:
    """The world of a simulation, as its seed wants it."""
    rng = np.random.default_rng([config.seed, 0])
    calendar = build_calendar(config, rng)
    catalogue = build_catalogue(config.seed, calendar, rng)
    return World(config, calendar, catalogue, build_population(config))
