# Which attested workload may have which resource. As shipped: none may have any.
package policy

import rego.v1

default allow := false
