// Package kubevents stores Kubernetes events as log entries: each occurrence
// once, over disconnects, restarts and changes of the owner.
//
// A [Collector] lists and watches events (core/v1; events.k8s.io/v1 serves the
// same objects), of the whole cluster or of some namespaces. An event object
// stands for many occurrences: its count, or that of its series, grows. Every
// advance that the API server shows becomes one entry.
//
// # Entries
//
// The stream has the labels of the pod that the event is about, as far as there
// is one, so that one selector finds an application's lines and its events:
//
//	job="kubernetes-events"  always
//	namespace                of the object that the event is about
//	pod, container           of a Pod; container only if the event names one
//	instance                 of a container: namespace/pod:container
//	app, service_name        of a Pod that is known; service_name is
//	                         "kubernetes-events" for everything else
//	node                     where the event was seen, if a node reported it;
//	                         the Node itself if the event is about one
//	type                     Normal or Warning
//
// The line is logfmt with the names that Alloy's loki.source.kubernetes_events
// uses, so that queries and dashboards made for it go on working:
//
//	name=web-0 kind=Pod objectAPIversion=v1 objectRV=771 reportinginstance=n1
//	reportingcontroller=kubelet sourcecomponent=kubelet sourcehost=n1
//	reason=BackOff type=Warning count=4 msg="Back-off restarting failed container"
//
// Structured metadata repeats what is asked for most: reason, kind, name,
// count, component, and detected_level (warn for a Warning, else info). The
// timestamp is that of the occurrence: series.lastObservedTime, else
// lastTimestamp, else eventTime, else creationTimestamp. Labels, line and
// timestamp depend on the event and its pod alone: what two replicas store of
// one occurrence is the same, and a query shows it once.
//
// # Continuity
//
// API servers delete events some time after their last occurrence (one hour
// unless --event-ttl says otherwise). The mark of a scope (all namespaces, or
// one of them) holds the resource version that everything is stored up to, and
// when that was; the mark of an event what was stored of it last. Both are
// written in the batch of the entries: a crash neither doubles nor loses any.
// After an interruption the watch goes on at the resource version, which gives
// every occurrence; when the API server has forgotten it (410), events are
// listed, and those that advanced are stored. If the interruption was longer
// than events live, some may have come and gone, and a gap entry (structured
// metadata [MetaGap]) says so.
//
//	key                      value
//	kubevents/at/<namespace> ┌───────────┬───────────────────────┬─────────────────┬──────────────────────┐
//	                         │ version=1 │ len uv, resource vers. │ contact varint  │ len uv, floor        │
//	                         └───────────┴───────────────────────┴─────────────────┴──────────────────────┘
//	kubevents/seen/<uid>     ┌───────────┬───────────────────────┬────────────────┬───────────┬───────────┐
//	                         │ version=1 │ len uv, resource vers. │ len uv, namesp. │ count uv  │ ts varint │
//	                         └───────────┴───────────────────────┴────────────────┴───────────┴───────────┘
//	uv: unsigned varint; contact and ts: nanoseconds since the Unix epoch
//	floor: the newest resource version among events that were forgotten because
//	there were too many; what is not newer has been stored
//
// An event's mark lives as long as the event.
//
// A replica that becomes the owner goes on from what the others have stored: it
// asks them (Options.TakeOver), and a former owner may have told it
// ([Collector.Adopt]). It takes over what is newer than its own marks, and makes
// it durable before it reads. Without that, as after the death of the owner, it
// lists and stores once more what the API server still has.
//
// The package does not choose the owner among replicas and does not look up
// pods: [Options] do. It knows nothing of the store beyond [Sink] and
// [MarkReader].
package kubevents
