"""The student's teachers, by name."""

TEACHERS = {
    "edit": "eve_cli.alignment.teachers.edit:EditTeacher",
    "video": "eve_cli.alignment.teachers.video:VideoTeacher",
    "lora": "eve_cli.alignment.teachers.lora:LoraTeacher",
}
