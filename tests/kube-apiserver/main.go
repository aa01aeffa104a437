// The API server of Kubernetes as a program of its own, for the tests: all its code is Kubernetes',
// and it keeps its objects in the etcd that the tests start anyway.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
