"""Harvest: reads what a run left in /out, in every form that YMIR images ever wrote, and names it by role."""
