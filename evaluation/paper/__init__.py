"""The paper's tables: every method, type, network and reading, ours beside the published ones.

``python -m evaluation.paper`` (`make paper`) goes once over the images to find each call's largest
magnitude, and once more to count the bits of many variants of every map at the same time; all that
is kept of a map are integers. What follows is arithmetic on that table.
"""
