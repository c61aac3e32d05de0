"""How should the budget be spent? Layers say what they bear, a greedy plan follows, and trials refine it."""

from compresslab.searching.budgets import Budget, Space
from compresslab.searching.greedy import Knob, greedy_path
from compresslab.searching.plans import LayerPlan, Plan
from compresslab.searching.seeking import Search, search
from compresslab.searching.trials import Trial

__all__ = ["Budget", "Knob", "LayerPlan", "Plan", "Search", "Space", "Trial", "greedy_path", "search"]
