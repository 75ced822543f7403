package doctor

func collectorChecks() []Check { return nil }
