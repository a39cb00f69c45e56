# --- What the evidence shows, whichever server made the claims.

# One of the measurements, in all of its parts.
measured if {
	some pins in measurements
	genuine(pins)
	booted(pins)
	configured(pins)
	logged(pins, "software")
	logged(pins, "configuration")
	logged(pins, "model")
}

sample if {
	allow_sample
	evidence.sample
	not evidence.tdx
}

# The quote's fields: an object, or (in tokens without an EAR) names with dots.
field(name) := evidence.tdx.quote.body[name]

field(name) := evidence[concat("", ["tdx.quote.body.", name])] if not evidence.tdx

header(name) := evidence.tdx.quote.header[name]

header(name) := evidence[concat("", ["tdx.quote.header.", name])] if not evidence.tdx

pinned(pins, name) if field(name) in pins.registers[name]

genuine(pins) if {
	pins.contents
	sample
}

genuine(pins) if {
	header("tee_type") == "81000000"
	header("vendor_id") == "939a7233f79c4ca9940a0db3957f0607"
	pinned(pins, "mr_td")
	pinned(pins, "mr_seam")
	patched
}

booted(pins) if {
	pins.contents
	sample
}

booted(pins) if {
	pinned(pins, "rtmr_0")
	pinned(pins, "rtmr_1")
	pinned(pins, "rtmr_2")
}

configured(pins) if {
	pins.contents
	sample
}

configured(pins) if {
	startswith(field("td_attributes"), "00")
	pinned(pins, "td_attributes")
	pinned(pins, "xfam")
}

# --- How well the platform is patched, as far as the server tells.

told := evidence.tdx.tcb_verification

patched if {
	told.tcb_status in tcb_statuses
	told.collateral_expired == false
	every advisory in split(told.advisory_ids, ",") {
		tolerated(advisory)
	}
}

patched if {
	not told
	evidence.tdx.tcb_status in tcb_statuses
	evidence.tdx.collateral_expiration_status == "0"
	every advisory in evidence.tdx.advisory_ids {
		tolerated(advisory)
	}
}

patched if {
	accept_unknown_tcb
	not told
	not evidence.tdx.tcb_status
}

tolerated(advisory) if advisory == ""

tolerated(advisory) if advisory in advisories

# --- crag's own events. Where a server doesn't check that an event's digest is that of its text,
# the digest is what is compared, in the one register that software extends.

logged(pins, name) if evidence.sample.events[name] in pins.contents[name]

logged(pins, name) if {
	sample
	some event in evidence.sample.cc_eventlog.uefi_event_logs
	extended(pins, event, 1, name)
}

logged(pins, name) if {
	some event in evidence.tdx.uefi_event_logs
	extended(pins, event, 4, name)
	not strange
}

logged(pins, name) if {
	not evidence.tdx.uefi_event_logs
	entries := evidence.tdx.aael[concat("/", ["crag", name])]
	listed(pins, entries, name)
}

logged(pins, name) if {
	not evidence.tdx
	entries := evidence[concat("/", ["tdx.aael.crag", name])]
	listed(pins, entries, name)
}

extended(pins, event, register, name) if {
	event.index == register
	event.type_name == "EV_EVENT_TAG"
	some digest in event.digests
	digest.digest in pins.digests[name]
}

listed(pins, entries, name) if {
	count(entries) == 1
	some content in pins.contents[name]
	entries[0] == concat(":", ["sha256", content])
}

# An event that says it is crag's and is none of those that are known.
strange if {
	some event in evidence.tdx.uefi_event_logs
	event.details.data.domain == "crag"
	not familiar(event)
}

familiar(event) if {
	some pins in measurements
	some name in object.keys(pins.digests)
	extended(pins, event, 4, name)
}
