//go:build !unix

package settings

func descriptorLimit() int { return fallbackDescriptors }
