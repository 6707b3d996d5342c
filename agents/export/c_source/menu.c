#define CHOICES @CHOICES@

/* Actions to choose from. */
static const int32_t menu[CHOICES][TIERENV_TUNABLES] = {
@MENU_ROWS@
};

