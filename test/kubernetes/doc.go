// Package kubernetes checks what packaging/kubernetes and packaging/grafana
// tell clusters: every manifest, and what the chart makes of its values, is
// decoded into the types of the Kubernetes API, strictly, and refers only to
// parts that are there. The chart is rendered by a small stand-in for helm with
// the functions that its templates use.
//
// It does not ask an API server: the tests in cluster do. No pods are started.
package kubernetes
