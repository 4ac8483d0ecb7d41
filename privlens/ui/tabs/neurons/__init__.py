"""The tab Neurons: what one neuron does, what each layer would say, and what neurons share."""
