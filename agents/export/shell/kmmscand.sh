check_machine() {
    check_tiers
}

take_over() {
    :
}
