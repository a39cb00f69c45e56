# What a workload must measure to be affirmed. Values: 2..31 affirming, 32..95 warning, 96..
# contraindicated (EAR trustworthiness tiers). A reference value that is missing affirms nothing.
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

default file_system := 35

# Software-made evidence has no hardware behind it; only whoever started this Trustee may accept it.
hardware := 2 if {
	input.sample.svn == "1"
	data.accept_sample_evidence == true
}

executables := 3 if input.sample.events.software in query_reference_value("crag.software")

configuration := 2 if input.sample.events.configuration in query_reference_value("crag.configuration")

file_system := 2 if input.sample.events.model in query_reference_value("crag.model")
