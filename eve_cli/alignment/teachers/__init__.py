"""Who judges the student: names and where each lives."""

TEACHERS = {
    "edit": "eve_cli.alignment.teachers.edit:EditTeacher",
    "video": "eve_cli.alignment.teachers.video:VideoTeacher",
    "lora": "eve_cli.alignment.teachers.lora:LoraTeacher",
}
