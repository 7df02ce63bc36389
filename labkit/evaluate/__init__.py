"""What a model can do: scores on four axes and three controls, scenarios, the geometry of weights,
the quality of documents, and chat.

It measures. It does not know which score is good enough, and it trains nothing.
"""
