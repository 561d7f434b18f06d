"""The lab: a fictional world and a small model that learned part of it, so that injected knowledge can be measured."""
