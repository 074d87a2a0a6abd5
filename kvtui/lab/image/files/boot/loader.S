# Boot loader for BIOS: loads a Linux kernel and its RAM disk from fixed sectors, in pieces as large as the BIOS takes.
# General boot loaders read in pieces so small that an emulated machine spends seconds on it.
# Sources: Linux Documentation/arch/x86/boot.rst (16-bit protocol), INT 13h extensions (EDD 3.0), INT 15h AH=87h.

    .code16
    .text
    .global _start

    .set SETUP_SEGMENT, 0x9000      # the kernel's real-mode part, then its stack and command line
    .set COMMAND_LINE, 0xe000       # within that segment
    .set BUFFER_SEGMENT, 0x1000
    .set PIECE, 127                 # sectors per read: the most that every BIOS takes

_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $_start, %sp
    sti
    cld
    movb %dl, drive
    movw $(rest_end - rest) / 512, packet_count
    movw $rest, packet_offset
    movl $1, packet_sector
    call read
    jmp rest

# Reads what the packet describes, or says so and stops.
read:
    movb $0x42, %ah
    movb drive, %dl
    movw $packet, %si
    int $0x13
    jc failed
    ret

failed:
    movw $message, %si
1:  lodsb
    testb %al, %al
    jz 2f
    movb $0x0e, %ah
    xorw %bx, %bx
    int $0x10
    jmp 1b
2:  hlt
    jmp 2b

message:
    .asciz "kvtui guest: the disk cannot be read\r\n"
drive:
    .byte 0
    .balign 4
packet:
    .byte 0x10, 0
packet_count:
    .word 0
packet_offset:
    .word 0
packet_segment:
    .word 0
packet_sector:
    .long 0, 0

    .org 510                        # the builder writes the partition table before it
    .word 0xaa55

rest:
    # The real-mode part: the first sector and as many as that one says.
    movl kernel_sector, %eax
    movl %eax, packet_sector
    movw setup_sectors, %ax
    movw %ax, packet_count
    movw $0, packet_offset
    movw $SETUP_SEGMENT, packet_segment
    call read

    # The RAM disk goes to the end of memory, away from where the kernel unpacks itself.
    # AX=E801h: BX or DX = 64 KiB blocks above 16 MiB.
    movw $0xe801, %ax
    xorw %cx, %cx
    xorw %dx, %dx
    int $0x15
    jc failed
    testw %dx, %dx
    jnz 1f
    movw %bx, %dx
1:  cmpw $0x6f00, %dx               # below 0x7fffffff, which is as far as the kernel looks
    jbe 2f
    movw $0x6f00, %dx
2:  movzwl %dx, %eax
    shll $16, %eax
    addl $0x1000000, %eax
    subl initrd_size, %eax
    andl $0xfffff000, %eax
    movl %eax, initrd_address

    movl system_sector, %eax
    movl system_count, %ecx
    movl $0x100000, %edi
    call load
    movl initrd_sector, %eax
    movl initrd_count, %ecx
    movl initrd_address, %edi
    call load

    movw $SETUP_SEGMENT, %ax
    movw %ax, %es
    movb $0xff, %es:0x210           # type_of_loader: none that has a number
    orb $0x80, %es:0x211            # loadflags: heap_end_ptr is valid
    movw $COMMAND_LINE - 0x200, %es:0x224
    movl initrd_address, %eax
    movl %eax, %es:0x218
    movl initrd_size, %eax
    movl %eax, %es:0x21c
    movl $SETUP_SEGMENT * 16 + COMMAND_LINE, %es:0x228
    movw $command_line, %si
    movw $COMMAND_LINE, %di
    movw $(command_line_end - command_line) / 2, %cx
    rep movsw

    cli
    movw %es, %ax
    movw %ax, %ds
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movw $COMMAND_LINE, %sp
    ljmp $SETUP_SEGMENT + 0x20, $0

# Loads %ecx sectors from sector %eax on to the linear address %edi.
load:
    movl %eax, packet_sector
    movw $0, packet_offset
    movw $BUFFER_SEGMENT, packet_segment
1:  movl $PIECE, %eax
    cmpl %eax, %ecx
    jae 2f
    movl %ecx, %eax
2:  movw %ax, packet_count
    pushl %ecx
    pushl %edi
    call read
    popl %edi
    movl %edi, %eax
    movw %ax, target
    shrl $16, %eax
    movb %al, target + 2
    movb %ah, target + 5
    movw packet_count, %cx
    shlw $8, %cx                    # words
    movw $descriptors, %si
    pushl %edi
    movb $0x87, %ah
    int $0x15
    popl %edi
    popl %ecx
    jc failed
    movzwl packet_count, %eax
    addl %eax, packet_sector
    subl %eax, %ecx
    shll $9, %eax
    addl %eax, %edi
    testl %ecx, %ecx
    jnz 1b
    ret

initrd_address:
    .long 0

    .balign 8
descriptors:                        # of INT 15h AH=87h: two for the BIOS, from, to, two for the BIOS
    .quad 0, 0
    .word 0xffff, (BUFFER_SEGMENT * 16) & 0xffff
    .byte (BUFFER_SEGMENT * 16) >> 16, 0x93, 0, 0
    .word 0xffff
target:
    .word 0
    .byte 0, 0x93, 0, 0
    .quad 0, 0

    .org 0x800                      # what the builder fills in, see disk.py
kernel_sector:
    .long 0
setup_sectors:
    .long 0
system_sector:
    .long 0
system_count:
    .long 0
initrd_sector:
    .long 0
initrd_count:
    .long 0
initrd_size:
    .long 0
command_line:
    .space 0x1e4
command_line_end:
    .org 0xa00
rest_end:
