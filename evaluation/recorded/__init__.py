"""ResNet-34's ReLU maps of one photograph, recorded, for machines without its weights.

``python -m evaluation.recorded --write`` makes the file again where the weights are.
"""
