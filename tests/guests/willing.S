# A guest of one sector: says that it is there, and does to itself what it is told by a letter at its serial port.
#   p  powers itself off        r  resets itself        x  tells of a kernel's panic
# What it says stands behind the code. Any other letter is its own answer.
# Sources: ACPI 4.8.3.2 (PM1 control, which firmware has put at 0x604), QEMU docs/specs/pvpanic.rst, 16550 (line status).
.code16
.globl _start
_start:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00, %sp
    cld
    sti
    mov $words, %si
say:
    lodsb
    test %al, %al
    jz listen
    call put
    jmp say
listen:
    mov $0x3fd, %dx
    in %dx, %al
    test $1, %al
    jnz heard
    hlt                     # until the next tick of the clock
    jmp listen
heard:
    mov $0x3f8, %dx
    in %dx, %al
    cmp $'p', %al
    je power_off
    cmp $'r', %al
    je reset
    cmp $'x', %al
    je panic
    call put
    jmp listen
power_off:
    mov $0x604, %dx
    mov $0x2000, %ax
    out %ax, %dx
    jmp listen
reset:
    mov $0xcf9, %dx
    mov $6, %al
    out %al, %dx
    jmp listen
panic:
    mov $0x505, %dx
    mov $1, %al
    out %al, %dx
    jmp listen
put:
    push %ax
    mov $0x3fd, %dx
full:
    in %dx, %al
    test $0x20, %al
    jz full
    pop %ax
    mov $0x3f8, %dx
    out %al, %dx
    ret
words:
