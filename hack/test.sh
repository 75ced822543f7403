#!/usr/bin/env bash
# make test: all tests that can run on this machine. What cannot run is said in
# one line each at the end, never silently skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
not_run=()

unit() {
  echo "== tests of the packages"
  go test ./...
}

clients() {
  echo "== the collector and other people's clients (protobuf push, OpenTelemetry SDK, WebSocket, logcli)"
  go -C hack/clients test ./...
  if [ -z "${LOGSTACK_LOGCLI:-}" ] && ! command -v logcli >/dev/null; then
    not_run+=("logcli: install it or name it in LOGSTACK_LOGCLI")
  fi
}

qemu() {
  echo "== the collector's tests on 32-bit arm and arm64, emulated"
  local why
  if ! why=$(hack/qemu.sh check); then
    not_run+=("arm and arm64: $why")
    return
  fi
  hack/qemu.sh
}

rig() {
  echo "== tests on the API rig (etcd + kube-apiserver + fake kubelets)"
  go -C hack/cluster run . build
  go -C hack/cluster test -timeout 30m ./...
}

cluster() {
  if [ "$(uname -s)" != Linux ]; then
    not_run+=("the real cluster: needs Linux (this is $(uname -s))")
    return
  fi
  if [ "$(id -u)" != 0 ]; then
    not_run+=("the real cluster: needs root (sudo make test-cluster)")
    return
  fi
  echo "== the real cluster itself: up, PodSecurity, DNS, rotation, kill -9, down without a trace"
  LOGSTACK_CLUSTER_TEST=1 go -C hack/cluster test -count=1 -timeout 20m -run TestCluster ./internal/bare
  echo "== tests on the real cluster"
  hack/e2e.sh
}

soak() {
  echo "== random histories of faults in simulated time"
  go test -count=1 -timeout 60m ./pkg/podlogs -run 'TestRandomFaults|TestDay' -args -seeds 1000
  echo "== the long form of the tests on the API rig"
  go -C hack/cluster run . build
  go -C hack/cluster test -count=1 -timeout 120m ./e2e
  if [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; then
    echo "== the long form of the tests on the real cluster"
    LOGSTACK_E2E_SOAK=${LOGSTACK_E2E_SOAK:-10m} hack/e2e.sh -run 'TestEverySequenceNumberOnce|TestNodeFaults|TestNodeFiles'
  else
    not_run+=("the real cluster: needs Linux and root")
  fi
}

case $what in
  all) unit; clients; qemu; rig; cluster ;;
  unit|clients|qemu|rig|cluster|soak) $what ;;
  *) echo "usage: $0 all|unit|clients|qemu|rig|cluster|soak" >&2; exit 2 ;;
esac

for line in "${not_run[@]+"${not_run[@]}"}"; do
  echo "NOT RUN: $line"
done
