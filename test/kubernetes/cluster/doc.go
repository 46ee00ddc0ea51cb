// Package cluster asks a real Kubernetes API server, with its admission and validation, what it thinks of
// packaging/kubernetes: every manifest, and the chart with several sets of values, pass its dry run; manifests with the
// mistakes that people make are rejected, with the reason. helm and kubeconform judge them as well.
//
// The API server takes long to compile, so the tests have a build tag, cluster, and a make target, test-kubernetes. They
// start etcd and kube-apiserver on ports of their own and leave nothing behind. No pods run.
package cluster
