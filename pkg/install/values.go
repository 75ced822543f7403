package install

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// Name is the name of everything that an installation creates in its namespace.
const Name = "logstack"

// Command is a command of ours that acts on the installation in a namespace, for
// printed advice: pasted, it must not act on another installation.
func Command(namespace, args string) string {
	c := "kubectl logstack " + args
	if namespace != Name {
		c += " -n " + namespace
	}
	return c
}

// Port is the Service's port name.
const Port = "http"

// Values are what a person may choose. The zero value is not usable:
// start from DefaultValues.
type Values struct {
	Namespace string
	// Image of the collector, with a tag or digest.
	Image string
	// StorageClass of the volume; "" is the cluster's default class.
	StorageClass string
	// StorageSize of the volume, a Kubernetes quantity. The collector keeps its
	// data below 80 % of it.
	StorageSize string
	// Ephemeral keeps the data in an emptyDir: logs are lost with the pod.
	Ephemeral bool
	// Retention as Prometheus writes durations ("7d"); "0" keeps until the disk
	// is full of it.
	Retention string
	// Memory limit of the container, a Kubernetes quantity.
	Memory string
}

// DefaultValues suit a small cluster.
func DefaultValues() Values {
	tag := version.Version
	return Values{
		Namespace:   Name,
		Image:       version.Image + ":" + tag,
		StorageSize: "10Gi",
		Retention:   "7d",
		Memory:      "256Mi",
	}
}

// diskShare is the part of the volume that the collector may fill: file systems
// slow down and others' metadata needs room before a volume is full.
const diskShare = 0.8

// minMemory is the least container limit under which the collector works.
var minMemory = resource.MustParse("64Mi")

// Validate reports everything that is wrong at once.
func (v Values) Validate() error {
	var errs []error
	if msgs := validation.IsDNS1123Label(v.Namespace); len(msgs) > 0 {
		errs = append(errs, fmt.Errorf("namespace %q: %s", v.Namespace, msgs[0]))
	}
	if v.Image == "" {
		errs = append(errs, errors.New("image is empty"))
	}
	if v.StorageClass != "" {
		if v.Ephemeral {
			errs = append(errs, errors.New("a storage class and an ephemeral volume exclude each other"))
		}
		if msgs := validation.IsDNS1123Subdomain(v.StorageClass); len(msgs) > 0 {
			errs = append(errs, fmt.Errorf("storage class %q: %s", v.StorageClass, msgs[0]))
		}
	}
	if q, err := resource.ParseQuantity(v.StorageSize); err != nil {
		errs = append(errs, fmt.Errorf("storage size %q is not a quantity such as 10Gi", v.StorageSize))
	} else if q.CmpInt64(64<<20) < 0 {
		errs = append(errs, fmt.Errorf("storage size %s is too small: 64Mi is the least", v.StorageSize))
	}
	if _, err := parseRetention(v.Retention); err != nil {
		errs = append(errs, err)
	}
	if q, err := resource.ParseQuantity(v.Memory); err != nil {
		errs = append(errs, fmt.Errorf("memory %q is not a quantity such as 256Mi", v.Memory))
	} else if q.Cmp(minMemory) < 0 {
		errs = append(errs, fmt.Errorf("memory %s is too small: %s is the least", v.Memory, minMemory.String()))
	}
	return errors.Join(errs...)
}

func parseRetention(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("retention %q is not a duration such as 7d or 12h", s)
	}
	return time.Duration(d), nil
}
