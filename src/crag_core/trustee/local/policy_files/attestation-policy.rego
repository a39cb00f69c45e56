# What a workload must measure to be affirmed. Values: 2..31 affirming, 32..95 warning, 96..
# contraindicated (EAR trustworthiness tiers). A reference value that is missing affirms nothing.
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

default file_system := 35

# crag's own events, from the log of a TD or from software-made evidence.
events := input.tdx.events

events := input.sample.events if not input.tdx

# Software-made evidence has no hardware behind it; only whoever started this Trustee may accept it.
hardware := 2 if {
	input.sample.svn == "1"
	data.accept_sample_evidence == true
}

# A TD whose firmware, TDX module and boot chain are the pinned ones: only then are its own events
# more than its word.
hardware := 2 if {
	input.tdx.quote.header.tee_type == "81000000"
	input.tdx.quote.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
	input.tdx.td_attributes.debug == false
	input.tdx.quote.body.mr_td in query_reference_value("tdx.mr_td")
	input.tdx.quote.body.mr_seam in query_reference_value("tdx.mr_seam")
}

booted if not input.tdx

booted if {
	every register in ["rtmr_0", "rtmr_1", "rtmr_2"] {
		input.tdx.quote.body[register] in query_reference_value(concat("", ["tdx.", register]))
	}
}

executables := 3 if {
	booted
	events.software in query_reference_value("crag.software")
}

configuration := 2 if events.configuration in query_reference_value("crag.configuration")

file_system := 2 if events.model in query_reference_value("crag.model")
