"""The paper's tables: every method, type, network and reading, ours beside the published ones.

``python -m evaluation.paper`` (`make paper`) goes once over the images to find each call's largest
magnitude, and once more to count the bits of many variants of every map at the same time; all that
is kept of a map are integers. What follows is arithmetic on that table.

Memory does not depend on the batch size: ten images go through the network at a time. Where it
normalizes by batch statistics, whole batches do, of at most 250 images (of 25 with gradients),
which takes about 2 GiB with ResNet-34.
"""
