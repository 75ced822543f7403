#!/usr/bin/env bash
# make test-qemu: the collector's tests as they run on a Raspberry Pi, 32-bit arm
# and arm64, under qemu's user emulation. QEMU=all leaves nothing out; the default
# leaves out what takes an emulated processor longer than some seconds.
#
#   hack/qemu.sh         run the tests
#   hack/qemu.sh check   install qemu where that is possible, else say what is
#                        missing and fail
set -euo pipefail
cd "$(dirname "$0")/.."

# What the collector is made of, but for its replicas (pkg/peers): their tests wait
# for each other in real time, which an emulated processor needs too much of.
packages="./pkg/vfs ./pkg/patterns ./pkg/store/... ./pkg/logql/... ./pkg/lokiapi ./pkg/kubevents ./pkg/podlogs/... ./pkg/sharing ./pkg/server ./cmd/collector"

# Model comparisons, hostile inputs and statistics: minutes here, seconds elsewhere.
long='^TestNeedles$|NeverMisses$|^TestFlippedBytes$|^TestDamageBehindChecksums$|^TestPick$|^TestDelayedIsBounded$|^TestPatternsSampled$|^TestRandomFaults$|^TestDay$|^TestUnchangedMeansSame$|^TestRandomOperations$|^TestContextEndsInsideALine$|^TestHostileQueries$|^TestLimits$|^TestIdentifierFilters$|^TestManyNames$|^TestShareRandom$|^TestCrowd$'

have() { command -v "$1" >/dev/null; }

if [ "$(uname -s)" != Linux ]; then
  echo "needs Linux (this is $(uname -s))"
  exit 1
fi
if ! have qemu-arm || ! have qemu-aarch64; then
  if ! have apt-get || [ "$(id -u)" != 0 ]; then
    echo "needs qemu-arm and qemu-aarch64 (Debian: apt-get install qemu-user)"
    exit 1
  fi
  echo "installing with apt-get: qemu-user" >&2
  export DEBIAN_FRONTEND=noninteractive
  # The package lists may be missing or old; once more with fresh ones.
  if ! { apt-get install -y --no-install-recommends qemu-user ||
    { apt-get update && apt-get install -y --no-install-recommends qemu-user; }; } >/dev/null 2>&1; then
    echo "needs qemu-arm and qemu-aarch64, and apt-get install qemu-user failed"
    exit 1
  fi
fi

[ "${1:-}" != check ] || exit 0

failed=
# run GOARCH EMULATOR. Tests that start their own binary find the emulator in
# the environment.
run() {
  echo "-- $1"
  # shellcheck disable=SC2086
  CGO_ENABLED=0 GOARCH=$1 GOARM=7 LOGSTACK_EMULATOR=$2 go test -short -timeout 30m -exec "$2" -skip "$skip" $packages || failed=1
}
# pkg/podlogs/nodefiles asks how long ago, by the clock, a file was written.
skip='^TestOpen$'
[ "${QEMU:-}" = all ] || skip="$skip|$long"
run arm qemu-arm
run arm64 qemu-aarch64
[ -z "$failed" ]
