package main

// notLogs matches the job of streams that have the labels of pods without being
// their logs: Kubernetes events, and starts and ends of containers.
const notLogs = "kubernetes-events|kubernetes-lifecycle"
