package doctor

// Category 09: storage.

func storageChecks() []Check { return nil }
