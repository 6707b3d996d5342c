check_machine() {
    check_tiers
}

