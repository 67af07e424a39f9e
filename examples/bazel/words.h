int count(const char *text);
int is_blank(char c);
